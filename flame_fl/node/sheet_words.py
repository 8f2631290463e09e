"""The sheet's sentences, English and German, for a data protection officer. `Say` fills them in, escaped.

A key's first part says where it stands. What stands in braces is filled in: numbers in the language's own way, texts
from elsewhere with nothing in them that a screen would obey.
"""

import math

from flame_fl.node.scan_words import Language
from flame_fl.node.shown import shown

# fmt: off
# ruff: noqa: E501
WORDS: dict[str, tuple[str, str]] = {
    # Titles
    "title.cautions": ("What needs your attention", "Darauf sollten Sie achten"),
    "title.request": ("Who asks, and for what purpose", "Wer fragt an, und zu welchem Zweck"),
    "title.data": ("Which data are used", "Welche Daten genutzt werden"),
    "title.release": ("What leaves the hospital", "Was das Haus verlässt"),
    "title.privacy": ("What others could learn from it", "Welche Rückschlüsse möglich sind"),
    "title.budget": ("Privacy budget of this site", "Datenschutzbudget dieses Standorts"),
    "title.resources": ("Computing resources", "Rechenressourcen"),
    "title.code": ("The program", "Das Programm"),
    "title.findings": ("Automatic reading of the program", "Automatische Durchsicht des Programms"),
    "title.changes": ("Compared with the last approved version", "Änderungen gegenüber der zuletzt freigegebenen Fassung"),
    "title.dry_run": ("Dry run on made-up data", "Probelauf mit künstlichen Daten"),
    "title.decisions": ("Decisions so far", "Bisherige Entscheidungen"),
    # Levels and states
    "level.high": ("high", "hoch"),
    "level.medium": ("medium", "mittel"),
    "level.low": ("low", "gering"),
    "status.pending": ("waits for a decision", "wartet auf Entscheidung"),
    "status.approved": ("approved", "freigegeben"),
    "status.rejected": ("rejected", "abgelehnt"),
    "status.withdrawn": ("approval withdrawn", "Freigabe widerrufen"),
    "status.expired": ("approval has expired", "Freigabe abgelaufen"),
    "act.approve": ("approved", "freigegeben"),
    "act.reject": ("rejected", "abgelehnt"),
    "act.withdraw": ("withdrawn", "widerrufen"),
    "yes": ("yes", "ja"),
    "no": ("no", "nein"),
    "none": ("none", "keine"),
    "nobody": ("nobody", "niemand"),
    "unknown": ("not known", "nicht bekannt"),
    # Cautions
    "caution.none": ("Nothing was noticed automatically. That is no assurance.", "Automatisch ist nichts aufgefallen. Das ist keine Gewähr."),
    "caution.no_terms": ("The app states no terms: no purpose, no data, no limits. Nothing of it can run unless you write terms yourself.", "Die Anwendung nennt keine Bedingungen: keinen Zweck, keine Daten, keine Grenzen. Sie läuft nur, wenn Sie selbst Bedingungen festlegen."),
    "caution.cannot_run": ("It could not run here as it is: {why}", "So, wie es ist, könnte es hier nicht laufen: {why}"),
    "caution.rejected": ("This analysis was rejected here before.", "Diese Analyse wurde hier bereits abgelehnt."),
    "caution.withdrawn": ("The approval of this analysis was withdrawn here before.", "Die Freigabe dieser Analyse wurde hier bereits widerrufen."),
    "caution.linkable": ("{count} further project(s) use the same project id with other statements. Pseudonyms depend on that id: whoever has results of both could link the same patients.", "{count} weitere(s) Projekt(e) verwenden dieselbe Projektkennung mit anderen Angaben. Die Pseudonyme hängen an dieser Kennung: Wer Ergebnisse aus beiden hat, könnte dieselben Patientinnen und Patienten zusammenführen."),
    "caution.project_open": ("Its project {id} is not approved here. It must be approved first, or together with the analysis.", "Das zugehörige Projekt {id} ist hier nicht freigegeben. Es muss zuvor oder zusammen mit der Analyse freigegeben werden."),
    "caution.roster_empty": ("Nobody entered which sites take part in this project.", "Für dieses Projekt ist nicht eingetragen, welche Standorte teilnehmen."),
    "caution.not_in_roster": ("This site is not in the project's list of participants.", "Dieser Standort steht nicht in der Teilnehmerliste des Projekts."),
    "caution.too_few": ("Data store {store} has {patients} patients today; at least {least} are required. Messages would be refused.", "Der Datenbestand {store} umfasst heute {patients} Personen; mindestens {least} sind verlangt. Anfragen würden abgewiesen."),
    "caution.over": ("The stated period is over: last day {until}.", "Der angegebene Zeitraum ist vorbei: letzter Tag {until}."),
    "caution.over_soon": ("The stated period ends soon: last day {until}.", "Der angegebene Zeitraum endet bald: letzter Tag {until}."),
    "caution.not_yet": ("The stated period has not begun: first day {first}.", "Der angegebene Zeitraum hat noch nicht begonnen: erster Tag {first}."),
    "caution.code_gone": ("The program itself is not kept here: nobody can look at it. Ask the researcher to run it again.", "Das Programm selbst liegt hier nicht vor: Niemand kann es prüfen. Bitten Sie die Forschenden, es erneut zu starten."),
    "caution.code_unreadable": ("The kept program cannot be read.", "Das aufbewahrte Programm ist nicht lesbar."),
    "caution.code_other": ("The kept program is not the one of this digest. Do not approve; tell the node's administrator.", "Das aufbewahrte Programm gehört nicht zu dieser Prüfsumme. Geben Sie nichts frei; verständigen Sie die Administration des Knotens."),
    "caution.findings_high": ("The automatic reading found {count} place(s) of high risk. Have somebody look who reads Python.", "Die automatische Durchsicht fand {count} Stelle(n) mit hohem Risiko. Lassen Sie jemanden darauf sehen, der Python liest."),
    "caution.findings_medium": ("The automatic reading found {count} place(s) of medium risk.", "Die automatische Durchsicht fand {count} Stelle(n) mit mittlerem Risiko."),
    "caution.dry_run_failed": ("Not every message of the dry run was answered.", "Im Probelauf wurde nicht jede Anfrage beantwortet."),
    "caution.first_version": ("No earlier version of this app was approved here: there is nothing to compare it with.", "Von dieser Anwendung wurde hier noch keine Fassung freigegeben: Ein Vergleich ist nicht möglich."),
    "caution.looser": ("{count} term(s) allow more than in the last approved version, among them {what}.", "{count} Bedingung(en) erlauben mehr als in der zuletzt freigegebenen Fassung, darunter {what}."),
    "caution.steward_wrote": ("The terms were written here, at this site, and not by the researcher.", "Die Bedingungen wurden hier am Standort festgelegt und stammen nicht von den Forschenden."),
    "caution.every_column": ("All columns of data store {store} are asked for. Is each of them needed for the purpose?", "Aus dem Datenbestand {store} werden alle Spalten verlangt. Ist jede davon für den Zweck erforderlich (Datenminimierung)?"),
    "caution.every_feature": ("All features of data store {store} are asked for. Is each of them needed for the purpose?", "Aus dem Datenbestand {store} werden alle Merkmale verlangt. Ist jedes davon für den Zweck erforderlich (Datenminimierung)?"),
    "caution.plain_ids": ("Data store {store} shows the app its ids as they are, without pseudonyms.", "Der Datenbestand {store} zeigt der Anwendung die Kennungen unverändert, ohne Pseudonyme."),
    "caution.gpu": ("{gpus} graphics processor(s) are asked for. They are shared hardware that is harder to confine.", "Es werden {gpus} Grafikprozessor(en) verlangt. Solche geteilte Hardware lässt sich schwerer abschotten."),
    "caution.resources": ("More than half of what one sandbox may use here is asked for: {what}.", "Verlangt wird mehr als die Hälfte dessen, was eine Sandbox hier nutzen darf: {what}."),
    "caution.refused_by_analysis": ("The analysis's own privacy limit does not cover all its messages: the next {left} are allowed, number {number} of them would be refused.", "Das eigene Datenschutzlimit der Analyse reicht nicht für alle Anfragen: Erlaubt sind noch {left}, die {number}. davon würde abgewiesen."),
    "caution.refused_by_project": ("The project's privacy limit here does not cover all messages: the next {left} are allowed, number {number} of them would be refused.", "Das hiesige Datenschutzlimit des Projekts reicht nicht für alle Anfragen: Erlaubt sind noch {left}, die {number}. davon würde abgewiesen."),
    "caution.refused_by_account": ("A lifetime privacy limit of this site does not cover all messages: the next {left} are allowed, number {number} of them would be refused.", "Ein lebenslanges Datenschutzlimit dieses Standorts reicht nicht für alle Anfragen: Erlaubt sind noch {left}, die {number}. davon würde abgewiesen."),
    "caution.weak_claim": ("The privacy claim is weak: at 1 % false alarms an attacker is right in up to {tpr} of 100 cases.", "Die Datenschutzzusage ist schwach: Bei 1 % Fehlalarmen liegt ein Angreifer in bis zu {tpr} von 100 Fällen richtig."),
    "caution.no_claim": ("No figure bounds what may be learnt from what leaves. It rests on your review.", "Keine Zahl begrenzt, was sich aus den Ergebnissen schließen lässt. Es kommt auf Ihre Prüfung an."),
    "caution.no_claim_large": ("No figure bounds what may be learnt, and one answer holds up to {numbers} numbers about {patients} patients ({ratio} per patient). Such an answer can hold details of individuals.", "Keine Zahl begrenzt, was sich schließen lässt, und eine Antwort enthält bis zu {numbers} Zahlen über {patients} Personen ({ratio} je Person). Eine solche Antwort kann Angaben zu Einzelnen enthalten."),
    # Request
    "request.app": ("App", "Anwendung"),
    "request.digest": ("Digest of the analysis", "Prüfsumme der Analyse"),
    "request.submitter": ("Submitted by", "Eingereicht von"),
    "request.submitter_text": ("{who} (as the hub says; not verified here)", "{who} (laut Hub; hier nicht überprüft)"),
    "request.filed": ("Last change here", "Letzte Änderung hier"),
    "request.status": ("State at this site", "Stand an diesem Standort"),
    "request.signed": ("Signatures", "Unterschriften"),
    "request.signed_text": ("{have} of {needed} needed: {who}", "{have} von {needed} nötigen: {who}"),
    "request.project": ("Project", "Projekt"),
    "request.purpose": ("Purpose", "Zweck"),
    "request.legal_basis": ("Legal basis", "Rechtsgrundlage"),
    "request.ethics": ("Ethics vote", "Ethikvotum"),
    "request.responsible": ("Responsible", "Verantwortlich"),
    "request.project_status": ("State of the project here", "Stand des Projekts hier"),
    "request.roster": ("Sites that take part", "Teilnehmende Standorte"),
    "request.roster_none": ("not entered", "nicht eingetragen"),
    "request.valid": ("Valid", "Gültig"),
    "request.valid_text": ("{first} to {last}", "{first} bis {last}"),
    "request.runs": ("Runs", "Durchläufe"),
    "request.runs_text": ("{had} so far, at most {most}; begins once {sites} site(s) have approved", "bisher {had}, höchstens {most}; beginnt, sobald {sites} Standort(e) freigegeben haben"),
    "request.settings": ("Settings the researcher may change", "Von den Forschenden änderbare Einstellungen"),
    "request.note": ("Purpose, legal basis and ethics vote are the researcher's own statements. Nobody has checked them for you.", "Zweck, Rechtsgrundlage und Ethikvotum sind Angaben der Forschenden. Niemand hat sie für Sie geprüft."),
    # Data
    "data.store": ("Data store", "Datenbestand"),
    "data.sees": ("What the app sees", "Was die Anwendung sieht"),
    "data.whose": ("Whose records", "Wessen Datensätze"),
    "data.patients": ("Today here", "Heute hier"),
    "data.kind.table": ("table", "Tabelle"),
    "data.kind.anndata": ("expression data", "Expressionsdaten"),
    "data.kind.plink": ("genotypes", "Genotypen"),
    "data.kind.pgen": ("genotypes", "Genotypen"),
    "data.kind.vcf": ("genetic variants", "genetische Varianten"),
    "data.kind.images": ("images", "Bilder"),
    "data.columns": ("columns {names}", "Spalten {names}"),
    "data.columns_all": ("every column", "alle Spalten"),
    "data.columns_none": ("no column but the ids", "keine Spalte außer den Kennungen"),
    "data.files": ("files {names}", "Dateien {names}"),
    "data.features": ("{count} features: {names}", "{count} Merkmale: {names}"),
    "data.features_all": ("every feature", "alle Merkmale"),
    "data.features_file": ("{count} features, listed in {file} of the app", "{count} Merkmale laut {file} der Anwendung"),
    "data.modalities": ("images of {names}", "Bilder von {names}"),
    "data.modalities_all": ("images of every modality", "Bilder aller Modalitäten"),
    "data.pseudonyms": ("patient ids as pseudonyms", "Kennungen pseudonymisiert"),
    "data.plain_ids": ("patient ids as they are", "Kennungen unverändert"),
    "data.shifted": ("dates moved by up to {days} days", "Datumsangaben um bis zu {days} Tage verschoben"),
    "data.all": ("all records of the store", "alle Datensätze des Bestands"),
    "data.asked": ("asked for: {what}", "angefragt: {what}"),
    "data.own": ("rule of this site: {what}", "Regel dieses Standorts: {what}"),
    "data.consent": ("only with documented consent", "nur mit dokumentierter Einwilligung"),
    "data.no_consent": ("this site's registration asks for no consent entry", "die Registrierung des Bestands verlangt keinen Einwilligungseintrag"),
    "data.counts": ("{patients} patients, {records} records; at least {least} patients required", "{patients} Personen, {records} Datensätze; mindestens {least} Personen verlangt"),
    "data.missing": ("this node has no such data store", "dieser Knoten hat keinen solchen Datenbestand"),
    "data.no_store": ("The analysis reads no data store.", "Die Analyse liest keinen Datenbestand."),
    "data.note": ("The data themselves stay here. The app works on a copy that holds only what is listed, without network. Whoever opted out is in no copy.", "Die Daten selbst bleiben hier. Die Anwendung arbeitet ohne Netzzugang auf einer Kopie, die nur das Aufgeführte enthält. Wer widersprochen hat, ist in keiner Kopie."),
    # Release
    "release.message": ("Kind of message", "Art der Anfrage"),
    "release.often": ("Per run", "Je Durchlauf"),
    "release.item": ("What is sent", "Was gesendet wird"),
    "release.what": ("Which is", "Das ist"),
    "release.train": ("training", "Training"),
    "release.evaluate": ("evaluation", "Bewertung"),
    "release.query": ("query", "Abfrage"),
    "release.often_text": ("at most {count}", "höchstens {count}"),
    "release.decimal": ("{count} decimal numbers ({shape})", "{count} Kommazahlen ({shape})"),
    "release.whole": ("{count} whole numbers ({shape})", "{count} ganze Zahlen ({shape})"),
    "release.bool": ("{count} yes/no values ({shape})", "{count} Ja/Nein-Werte ({shape})"),
    "release.decimal_one": ("one decimal number ({shape})", "eine Kommazahl ({shape})"),
    "release.whole_one": ("one whole number ({shape})", "eine ganze Zahl ({shape})"),
    "release.bool_one": ("one yes/no value ({shape})", "ein Ja/Nein-Wert ({shape})"),
    "release.decimal_most": ("up to {count} decimal numbers ({shape})", "bis zu {count} Kommazahlen ({shape})"),
    "release.whole_most": ("up to {count} whole numbers ({shape})", "bis zu {count} ganze Zahlen ({shape})"),
    "release.bool_most": ("up to {count} yes/no values ({shape})", "bis zu {count} Ja/Nein-Werte ({shape})"),
    "release.delta": ("changes are clipped against what was sent", "begrenzt wird die Änderung gegenüber dem Gesendeten"),
    "release.count": ("a count", "eine Anzahl"),
    "release.mean": ("a mean", "ein Mittelwert"),
    "release.sum": ("a sum", "eine Summe"),
    "release.exemption": (
        "The app asks for looser disclosure rules because: {why}",
        "Die App bittet um lockerere Regeln zur Offenlegung, weil: {why}",
    ),
    "release.unguarded": (
        "Elements that no disclosure rule looks at one by one: {items}",
        "Elemente, die keine Regel zur Offenlegung einzeln prüft: {items}",
    ),
    "release.rate": ("a rate", "ein Anteil"),
    "release.score": ("a score", "ein Gütemaß"),
    "release.range": ("{what}, from {low} to {high}", "{what}, von {low} bis {high}"),
    "release.list": ("{what}; a list of up to {length}", "{what}; Liste mit bis zu {length} Werten"),
    "release.nothing": ("nothing", "nichts"),
    "release.note": ("Only this leaves, and only in answer to a message; all else is refused. One answer holds up to {numbers} numbers.", "Nur dies verlässt das Haus, und nur als Antwort auf eine Anfrage; alles andere wird abgewiesen. Eine Antwort enthält bis zu {numbers} Zahlen."),
    "release.ratio": ("That is {ratio} numbers per patient of the smallest cohort ({patients} patients). The more, the easier individuals can be made out.", "Das sind {ratio} Zahlen je Person der kleinsten Kohorte ({patients} Personen). Je mehr, desto eher werden Einzelne erkennbar."),
    "release.back": ("What has left cannot be called back, also if you withdraw the approval.", "Was einmal gesendet ist, lässt sich nicht zurückholen, auch nicht durch Widerruf der Freigabe."),
    # Privacy
    "privacy.unit": ("Whose privacy", "Wessen Schutz"),
    "privacy.unit.none": ("no unit is named", "keine Einheit genannt"),
    "privacy.unit.site": ("the whole site (not the single patient)", "der Standort als Ganzes (nicht die einzelne Person)"),
    "privacy.unit.patient": ("each single patient", "jede einzelne Person"),
    "privacy.ground": ("What the claim stands on", "Worauf die Zusage beruht"),
    "privacy.ground.none": ("on nothing: no claim is made", "auf nichts: Es wird nichts zugesagt"),
    "privacy.ground.reviewed": ("on a person's review, on no arithmetic", "auf der Prüfung durch Menschen, auf keiner Berechnung"),
    "privacy.ground.reviewed_noise": ("on a person's review: the app itself calls flame_fl's code, and somebody has to see that it does so rightly", "auf der Prüfung durch Menschen: Die Anwendung ruft den Code von flame_fl selbst auf, und jemand muss sehen, dass sie es richtig tut"),
    "privacy.ground.vetted": ("vetted: flame_fl's own code computes the answer in the sandbox; nothing of the app runs there", "geprüfter Code: flame_fl selbst berechnet die Antwort in der Sandbox; nichts von der Anwendung läuft dort"),
    "privacy.ground.enforced": ("enforced: this node's own arithmetic, whatever the app does", "erzwungen: durch die Berechnung dieses Knotens, gleich was die Anwendung tut"),
    "privacy.mechanism": ("What the node does", "Was der Knoten tut"),
    "privacy.mechanism.none": ("it checks form and size of what leaves, and adds no noise", "er prüft Form und Umfang, fügt aber kein Rauschen hinzu"),
    "privacy.mechanism.clip": ("it limits each answer to length {clip}. That bounds the site's influence, not what may be learnt", "er begrenzt jede Antwort auf die Länge {clip}. Das beschränkt den Einfluss des Standorts, nicht die Rückschlüsse"),
    "privacy.mechanism.discrete-gaussian": ("it limits each answer to length {clip} and adds random noise of {noise} times that to every number", "er begrenzt jede Antwort auf die Länge {clip} und fügt jeder Zahl zufälliges Rauschen vom {noise}-Fachen hinzu"),
    "privacy.mechanism.blocks": ("it limits the answer of each group of patients to length {clip}, adds them up and adds random noise of {noise} times that to every number of the sum", "er begrenzt die Antwort jeder Gruppe von Personen auf die Länge {clip}, addiert sie und fügt jeder Zahl der Summe zufälliges Rauschen vom {noise}-Fachen hinzu"),
    "privacy.mechanism.sums": ("flame_fl limits what each patient contributes to length {clip}, adds it up and adds random noise of {noise} times that to every number of the sum", "flame_fl begrenzt den Beitrag jeder Person auf die Länge {clip}, addiert die Beiträge und fügt jeder Zahl der Summe zufälliges Rauschen vom {noise}-Fachen hinzu"),
    "privacy.mechanism.dp-sgd": ("flame_fl trains the model: it limits each patient's gradient to length {clip} and adds random noise of {noise} times that to every sum of gradients", "flame_fl trainiert das Modell: Es begrenzt den Gradienten jeder Person auf die Länge {clip} und fügt jeder Gradientensumme zufälliges Rauschen vom {noise}-Fachen hinzu"),
    "privacy.blocks": ("Groups of patients", "Gruppen von Personen"),
    "privacy.blocks_text": ("{blocks}, disjoint and drawn with the node's secret; the app runs once for each, {seconds} seconds each, {total} seconds for one answer", "{blocks}, überschneidungsfrei und mit dem Geheimnis des Knotens gezogen; die Anwendung läuft je Gruppe einmal, jeweils {seconds} Sekunden, {total} Sekunden für eine Antwort"),
    "privacy.sampling": ("Steps and sampling", "Schritte und Stichproben"),
    "privacy.sampling_text": ("{steps} step(s) per message; each patient takes part in a step with a chance of {rate} in 100", "{steps} Schritt(e) je Anfrage; jede Person nimmt an einem Schritt mit einer Wahrscheinlichkeit von {rate} zu 100 teil"),
    "privacy.adaptive": ("Limit may shrink", "Grenze kann sinken"),
    "privacy.adaptive_text": ("a message may ask for a smaller limit; the noise shrinks with it, the figures below stay", "eine Anfrage darf eine kleinere Grenze verlangen; das Rauschen sinkt mit, die Werte unten bleiben"),
    "privacy.epsilon": ("ε (lower is safer)", "ε (kleiner ist sicherer)"),
    "privacy.epsilon_text": ("at most {most} at δ = {delta}; all messages that can be answered use {used}", "höchstens {most} bei δ = {delta}; alle beantwortbaren Anfragen verbrauchen {used}"),
    "privacy.attacker": ("What an attacker gains", "Was ein Angreifer gewinnt"),
    "privacy.attacker_text.site": ("An attacker who knows two possible contributions of the whole site, sees every answer and accepts one false alarm in a hundred, is right in at most {tpr} of 100 cases. With a coin it would be 1.", "Wer zwei mögliche Beiträge des gesamten Standorts kennt, alle Antworten sieht und einen Fehlalarm unter hundert hinnimmt, liegt in höchstens {tpr} von 100 Fällen richtig. Durch bloßes Raten wäre es 1."),
    "privacy.attacker_text.patient": ("An attacker who knows a patient's records and those of all others, sees every answer and accepts one false alarm in a hundred, recognises in at most {tpr} of 100 cases that the patient is in the data. With a coin it would be 1.", "Wer die Daten einer Person und aller anderen kennt, alle Antworten sieht und einen Fehlalarm unter hundert hinnimmt, erkennt in höchstens {tpr} von 100 Fällen, dass die Person in den Daten ist. Durch bloßes Raten wäre es 1."),
    "privacy.advantage": ("Advantage over guessing", "Vorteil gegenüber Raten"),
    "privacy.advantage_text": ("{advantage} of 100 (0: no better than a coin, 100: certainty). Choosing between two possibilities, the attacker is right in at most {right} of 100 cases instead of 50.", "{advantage} von 100 (0: wie Münzwurf, 100: Gewissheit). Zwischen zwei Möglichkeiten wählt ein Angreifer in höchstens {right} von 100 Fällen richtig statt in 50."),
    "privacy.bound": ("From ε and δ alone", "Allein aus ε und δ"),
    "privacy.bound_text": ("at most {tpr} of 100 cases at 1 % false alarms; advantage at most {advantage} of 100. The figures above use what is known of the noise and are sharper.", "höchstens {tpr} von 100 Fällen bei 1 % Fehlalarmen; Vorteil höchstens {advantage} von 100. Die Werte darüber nutzen die Kenntnis des Rauschens und sind schärfer."),
    "privacy.messages": ("Messages", "Anfragen"),
    "privacy.messages_text": ("{had} so far, at most {left} more; the budgets cover {admitted} of them", "bisher {had}, höchstens {left} weitere; die Budgets decken davon {admitted}"),
    "privacy.none_note": ("No figure bounds what may be learnt about patients from what leaves. Ask yourself: could somebody conclude from these numbers that a person is in the data, or what is true of that person?", "Keine Zahl begrenzt, was sich aus dem Gesendeten über Patientinnen und Patienten schließen lässt. Fragen Sie sich: Könnte jemand aus diesen Zahlen ableiten, dass eine Person in den Daten vorkommt oder was auf sie zutrifft?"),
    "privacy.site_note": ("The figures are about this site as a whole: how well somebody could tell what the site contributed. A single patient is covered by them as a part of it. Averages that many sites feed stay useful; a single site's answer is mostly noise.", "Die Werte gelten für den Standort als Ganzes: wie gut sich erkennen ließe, was er beigetragen hat. Die einzelne Person ist als Teil davon mitgeschützt. Mittelwerte über viele Standorte bleiben brauchbar; die Antwort eines einzelnen ist überwiegend Rauschen."),
    "privacy.patient_note": ("The figures are about each single patient: how well somebody could tell whether that patient's records were used. Two patients together, or one patient in two hospitals, are less protected. They say nothing about the site as a whole.", "Die Werte gelten für jede einzelne Person: wie gut sich erkennen ließe, ob ihre Daten verwendet wurden. Zwei Personen gemeinsam oder eine Person in zwei Häusern sind schwächer geschützt. Über den Standort als Ganzes sagen sie nichts."),
    "privacy.reviewed_note": ("The figures hold only if the app uses flame_fl's code as it should, and lets nothing else out. No arithmetic of the node's stands behind that.", "Die Werte gelten nur, wenn die Anwendung den Code von flame_fl richtig nutzt und nichts anderes hinausgibt. Dafür steht keine Berechnung des Knotens ein."),
    "privacy.count_note": ("Whether there are enough patients is decided once per data store, on a count with noise, which is charged too.", "Ob es genug Personen sind, wird je Datenbestand einmal anhand einer verrauschten Zählung entschieden; auch sie wird angerechnet."),
    "privacy.attempt_note": ("A message that has to be worked on again after an interruption is charged again.", "Muss eine Anfrage nach einer Unterbrechung neu bearbeitet werden, wird sie erneut angerechnet."),
    "budget.account": ("Whose budget", "Wessen Budget"),
    "budget.account.site": ("the site as a whole", "der Standort als Ganzes"),
    "budget.account.patient": ("each patient ({namespace})", "jede Person ({namespace})"),
    "budget.cap": ("Lifetime limit", "Lebenslanges Limit"),
    "budget.cap_text": ("ε = {cap} at δ = {delta}", "ε = {cap} bei δ = {delta}"),
    "budget.project_cap_text": ("ε = {cap} at δ = {delta}; this project: {project}", "ε = {cap} bei δ = {delta}; dieses Projekt: {project}"),
    "budget.before": ("Used so far", "Bisher verbraucht"),
    "budget.after": ("After this analysis, at most", "Nach dieser Analyse höchstens"),
    # Budget
    "budget.figure": ("{used} % of the limit, ε = {epsilon}; right in at most {tpr} of 100 cases", "{used} % des Limits, ε = {epsilon}; in höchstens {tpr} von 100 Fällen richtig"),
    "budget.refused": ("Where it ends", "Wo es endet"),
    "budget.fits": ("every message that the terms allow is covered", "jede nach den Bedingungen mögliche Anfrage ist gedeckt"),
    "budget.refused_text.analysis": ("the next {admitted} messages are covered; the one after them is refused: the analysis has then spent its own limit ({account})", "die nächsten {admitted} Anfragen sind gedeckt; die darauf folgende wird abgewiesen: Das eigene Limit der Analyse ist dann verbraucht ({account})"),
    "budget.refused_text.project": ("the next {admitted} messages are covered; the one after them is refused: the project has then spent its limit here ({account})", "die nächsten {admitted} Anfragen sind gedeckt; die darauf folgende wird abgewiesen: Das hiesige Limit des Projekts ist dann verbraucht ({account})"),
    "budget.refused_text.account": ("the next {admitted} messages are covered; the one after them is refused: the lifetime limit is then spent ({account})", "die nächsten {admitted} Anfragen sind gedeckt; die darauf folgende wird abgewiesen: Das lebenslange Limit ist dann verbraucht ({account})"),
    "budget.unclaimed": ("This analysis claims no privacy in figures. It uses nothing of the budget, and the budget says nothing about it.", "Diese Analyse macht keine bezifferte Datenschutzzusage. Sie verbraucht nichts vom Budget, und das Budget sagt nichts über sie aus."),
    "budget.note": ("Limits hold over all analyses that claim privacy, also if these are chosen in the light of earlier answers; percent are counted so. ε and cases (an attacker who accepts 1 % false alarms) are those of the same answers fixed beforehand. Nothing comes back.", "Die Limits gelten über alle Analysen mit Datenschutzzusage, auch wenn diese nach früheren Antworten ausgewählt werden; so zählen die Prozente. ε und Fälle (ein Angreifer mit 1 % Fehlalarmen) gelten für dieselben Antworten, wären sie vorab festgelegt. Nichts kommt zurück."),
    # Resources
    "resources.what": ("Resource", "Ressource"),
    "resources.asked": ("Asked for", "Verlangt"),
    "resources.most": ("Most at this node", "Höchstens an diesem Knoten"),
    "resources.cpus": ("processors", "Prozessoren"),
    "resources.memory_bytes": ("memory", "Arbeitsspeicher"),
    "resources.pids": ("processes", "Prozesse"),
    "resources.seconds": ("seconds per message", "Sekunden je Anfrage"),
    "resources.scratch_bytes": ("room for temporary files", "Platz für temporäre Dateien"),
    "resources.gpus": ("graphics processors", "Grafikprozessoren"),
    "resources.unbounded": ("no bound", "ohne Grenze"),
    "resources.sandbox": ("Sandbox", "Sandbox"),
    "resources.note": ("The app runs confined, without network, as nobody, on read-only copies.", "Die Anwendung läuft abgeschottet, ohne Netz, ohne Rechte und auf schreibgeschützten Kopien."),
    # Code
    "code.content": ("Checksum of the content", "Prüfsumme des Inhalts"),
    "code.size": ("Size", "Umfang"),
    "code.size_text": ("{count} files, {bytes} bytes", "{count} Dateien, {bytes} Byte"),
    "code.imports": ("Uses libraries", "Verwendete Bibliotheken"),
    "code.imports.other": ("unknown to us", "uns nicht bekannt"),
    "code.imports.known": ("known", "bekannt"),
    "code.imports.own": ("its own", "eigene"),
    "code.imports.standard": ("part of Python", "Teil von Python"),
    "code.file": ("File", "Datei"),
    "code.bytes": ("Bytes", "Byte"),
    "code.more": ("and {count} more files", "und {count} weitere Dateien"),
    "code.missing": ("The program is not kept here, or cannot be used; see above.", "Das Programm liegt hier nicht vor oder ist nicht verwendbar; siehe oben."),
    # Findings
    "findings.risk": ("Risk", "Risiko"),
    "findings.place": ("Place", "Stelle"),
    "findings.what": ("What", "Was"),
    "findings.line": ("Line", "Zeile"),
    "findings.counts": ("{high} of high, {medium} of medium, {low} of low risk; {parsed} Python files read", "{high} mit hohem, {medium} mit mittlerem, {low} mit geringem Risiko; {parsed} Python-Dateien gelesen"),
    "findings.found": ("Found", "Gefunden"),
    "findings.more": ("{count} more are not shown here.", "{count} weitere sind hier nicht aufgeführt."),
    "findings.note": ("A finding is a reason to look, not a fault; and a program without findings is not proven harmless. What confines it is the sandbox, and what leaves is decided by the list above.", "Ein Fund ist ein Anlass hinzusehen, kein Fehler; und ein Programm ohne Funde ist nicht erwiesen harmlos. Eingeschränkt wird es durch die Sandbox, und was gesendet wird, bestimmt die Liste oben."),
    # Changes
    "changes.none": ("There is no earlier approved version whose program is kept.", "Es gibt keine früher freigegebene Fassung, deren Programm aufbewahrt ist."),
    "changes.version": ("Last approved version", "Zuletzt freigegebene Fassung"),
    "changes.version_text": ("{digest}, of {at}", "{digest}, vom {at}"),
    "changes.terms": ("Changed terms", "Geänderte Bedingungen"),
    "changes.terms_text": ("{count}, of which {looser} allow more", "{count}, davon erlauben {looser} mehr"),
    "changes.files": ("Changed files", "Geänderte Dateien"),
    "changes.files_text": ("{count} differ, {same} are the same; {added} lines added, {removed} removed", "{count} verschieden, {same} gleich; {added} Zeilen hinzugefügt, {removed} entfernt"),
    "changes.where": ("Where", "Wo"),
    "changes.before": ("Before", "Vorher"),
    "changes.after": ("Now", "Jetzt"),
    "changes.effect": ("Effect", "Wirkung"),
    "changes.looser": ("allows more", "erlaubt mehr"),
    "changes.tighter": ("allows less", "erlaubt weniger"),
    "changes.judge": ("for you to judge", "von Ihnen zu beurteilen"),
    "changes.added": ("new file", "neue Datei"),
    "changes.removed": ("removed file", "entfernte Datei"),
    "changes.changed": ("changed file", "geänderte Datei"),
    "changes.binary": ("not text: cannot be compared line by line", "kein Text: zeilenweise nicht vergleichbar"),
    "changes.too_large": ("too large to be compared line by line", "zu groß für einen zeilenweisen Vergleich"),
    "changes.left_out": ("{count} lines of the difference are not shown.", "{count} Zeilen des Vergleichs sind nicht aufgeführt."),
    # Dry run
    "dry_run.none": ("None was made. A steward can start one; it uses made-up data and no patient's.", "Es fand keiner statt. Sie können einen starten; er nutzt künstliche Daten, keine von Patientinnen und Patienten."),
    "dry_run.at": ("Begun", "Begonnen"),
    "dry_run.took": ("Took", "Dauer"),
    "dry_run.seconds": ("{seconds} seconds", "{seconds} Sekunden"),
    "dry_run.store": ("Made-up data store {name}", "Künstlicher Datenbestand {name}"),
    "dry_run.store_text": ("{records} records of {patients} usable patients", "{records} Datensätze von {patients} nutzbaren Personen"),
    "dry_run.drafted": ("{what}; drawn from names and types alone: no schema with categories and ranges is released", "{what}; nur aus Namen und Typen erzeugt: Es ist kein Schema mit Kategorien und Wertebereichen freigegeben"),
    "dry_run.message": ("Message", "Anfrage"),
    "dry_run.outcome": ("Outcome", "Ergebnis"),
    "dry_run.detail": ("Details", "Einzelheiten"),
    "dry_run.released": ("answered; it would have left", "beantwortet; die Antwort wäre gesendet worden"),
    "dry_run.zero": ("the app failed; noise alone would have left", "die Anwendung scheiterte; nur Rauschen wäre gesendet worden"),
    "dry_run.refused": ("refused ({code})", "abgewiesen ({code})"),
    "dry_run.stopped": ("stopped: the time was over", "abgebrochen: Zeit abgelaufen"),
    "dry_run.skipped": ("not tried", "nicht versucht"),
    "dry_run.sent": ("{bytes} bytes: {items}", "{bytes} Byte: {items}"),
    "dry_run.note": ("The messages of a dry run are made up, like the data. An app that expects more from the hub fails here and may still be sound; one that works here may do something else on real data. A dry run proves nothing.", "Die Anfragen eines Probelaufs sind ebenso künstlich wie die Daten. Eine Anwendung, die vom Hub mehr erwartet, scheitert hier und kann dennoch in Ordnung sein; eine, die hier läuft, kann sich bei echten Daten anders verhalten. Ein Probelauf beweist nichts."),
    "dry_run.output": ("Below is what the app printed last. It worked on made-up data only.", "Unten steht, was die Anwendung zuletzt ausgab. Sie arbeitete nur mit künstlichen Daten."),
    # Decisions
    "decisions.at": ("When (UTC)", "Wann (UTC)"),
    "decisions.act": ("Decision", "Entscheidung"),
    "decisions.by": ("By", "Durch"),
    "decisions.comment": ("Reason", "Begründung"),
    "decisions.none": ("Nobody has decided about this analysis yet.", "Über diese Analyse wurde noch nicht entschieden."),
    "decisions.note": ("This sheet stays at the node. Its hash is part of what you sign.", "Diese Vorlage bleibt am Knoten. Ihr Hashwert ist Teil dessen, was Sie unterschreiben."),
}
# fmt: on


class Say:
    """Sentences in one language."""

    def __init__(self, language: Language) -> None:
        self.language = language

    def __call__(self, key: str, **values: str | float) -> str:
        """The sentence of a key, with these values in it.

        Raises:
            KeyError: There is no such sentence, or a value for it is missing.
        """
        template = WORDS[key][self.language == "de"]
        return template.format(**{name: self.value(value) for name, value in values.items()})

    def value(self, value: str | float) -> str:
        """A number in the language's own way; a text in one line, escaped."""
        if isinstance(value, str):
            return shown(value.replace("\n", " "), 2000)
        if isinstance(value, int) or (math.isfinite(value) and (value == int(value) or abs(value) >= 1000)):
            text = f"{round(value):,}" if abs(value) < 1e15 else f"{value:.3g}"
        else:
            text = f"{value:.3g}"
        return text.translate(str.maketrans(",.", ".,")) if self.language == "de" else text

    def of_hundred(self, share: float) -> str:
        """A share as cases of a hundred, rounded up: it stands behind "at most"."""
        tenths = math.ceil(round(share * 1000, 6))
        return self.value(tenths / 10)

    def size(self, count: int) -> str:
        """Bytes for people."""
        for power, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
            if count >= power:
                return f"{self.value(round(count / power, 1))} {unit}"
        return f"{count} Byte" if self.language == "de" else f"{count} bytes"
